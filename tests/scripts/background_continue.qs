# exit: 5
# args: --continue-on-error
# stderr
# The same where the batch goes on after errors; one that was heard, and passed over, counts once.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
search --reach 200 --max-pins 1 /block4/dw/Conv &
