# A walk in keys only, each of which is a command line.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
key j p j p
key 3
key 5
screen --size 80x24
key u
screen --size 80x24
