# The first classes of both sides below the list, as probabilities and as values.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
key 3 t
screen images --size 80x24
key j T
screen images --size 80x24 --ascii
