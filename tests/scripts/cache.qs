# args: --json
# stderr
# Results that are kept: found again, by number, cleared, and a size that is none.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
run --limit 4
run --limit 4
set cache off
run --limit 4
show cache
cache info
set cache on
set cache-size 64M
show cache-size
cache clear
cache clear
-set cache-size much
-set cache maybe
