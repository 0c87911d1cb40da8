# Only images whose answer changed.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
view images
toggle flips
screen images --size 120x30
