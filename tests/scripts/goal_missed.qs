# exit: 4
# stderr
# A goal that no number of layers meets is not passed over, by any of those that look for it.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 2
-prefix --until 'agreement>=101'
-bisect --until 'agreement>=101'
-search --metric agreement --reach 101 --max-pins 1
suffix --until 'agreement>=101'
