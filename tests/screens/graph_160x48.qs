# The same with everything known of a node beside it, and the net as a map.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
pin /block4/dw/Conv /block3/dw/Conv
select layer /block3/dw/Conv
screen graph --size 160x48 --ascii
