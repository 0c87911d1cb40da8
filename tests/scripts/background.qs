# stderr
# The end of a batch waits for what is in the background, and tells what it found.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
search --max-pins 1 /block4/dw/Conv &
wait
run &
