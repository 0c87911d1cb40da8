# One layer: figures, histogram, channels.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 12
run
layer /block2/dw/Relu
hist /block2/dw/Relu --bins 16
channels /block2/dw/Relu --sort sqnr
