# exit: 4
# stderr
# The gate of a CI job that does not hold.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
run
assert min(sqnr) > -100
assert top1_drop <= 1.0 --message "INT8 gate"
echo not reached
