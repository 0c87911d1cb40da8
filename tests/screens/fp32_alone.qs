# The same of an FP32 model.
load fp32 samples/models/fp32.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
screen layers --size 80x24
open /block4/dw/Conv
capture
screen layer --size 80x24
