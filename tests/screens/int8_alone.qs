# An INT8 model without its FP32 one: what there is of its layers, and what is missing.
load int8 samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
screen layer --size 80x24
run
screen layers --size 80x24
open /block4/pw/Conv
select channel 5
capture
screen layer --size 80x24
screen layer --size 120x40
screen images --size 80x24
screen pins --size 80x24
screen graph --size 80x24
