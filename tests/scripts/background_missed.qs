# exit: 4
# stderr
# A job in the background that fails at the end of a batch is its failure, also behind a quiet run.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
run
search --reach 200 --max-pins 1 /block4/dw/Conv &
