load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 4
metric --lower --unit lsb mae python3 tests/mae.py {fp32} {int8}
metric --timeout 2.5 one echo 1
metric
metric mae --json
outcomes --json
evaluate --metric mae
evaluate --metric mae --json
sensitivity --metric mae --top 2 --exact
sensitivity --metric mae --top 1 --exact --json
prefix --until 'mae_drop<=0.0005'
search --metric mae --reach 0.0005
search --metric mae --reach 0.0003 --json
session save ${OUT}/session.json
metric one --forget
metric --lower mae python3 tests/mae.py
metric
session open ${OUT}/session.json
metric
-metric top1 echo 1
-metric 1a echo 1
-metric a_drop echo 1
-metric --unit 'much too long' a echo 1
-metric --timeout 0 a echo 1
-metric --lower --higher a echo 1
-metric a --forget
-metric --trust
