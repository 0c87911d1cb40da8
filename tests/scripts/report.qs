# exit: 4
# stderr
# The results of a run as files, and two INT8 versions against each other.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
-report ${OUT}/early.html
run
report ${OUT}/r.html
report ${OUT}/r.md --images 3
report ${OUT}/table --format csv
report ${OUT}/all.json --json
-report ${OUT}/r.html
-report ${OUT}/r.pdf
baseline save ${OUT}/qdq.json
pin /block4/dw/Conv ; run
-assert regressions == 0
baseline compare ${OUT}/qdq.json --top 3
assert regressions == 0 && accuracy_gain > 10
load int8 samples/models/int8_qop.onnx ; run
baseline compare ${OUT}/qdq.json --top 4
baseline compare ${OUT}/qdq.json --csv --metric rmse
baseline compare ${OUT}/all.json --json --metric mse
-baseline compare samples/preprocess.json
assert regressions == 0 --message "INT8 gate"
