# One layer: figures, histogram, channels.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 12
run
layer /block4/dw/Conv
hist /block4/dw/Conv --bins 16
channels /block4/dw/Conv --sort sqnr
