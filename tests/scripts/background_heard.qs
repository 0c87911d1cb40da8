# stderr
# A failure that 'wait' has told, and the script passes over, is none of the batch.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
search --reach 200 --max-pins 1 /block4/dw/Conv &
-wait
