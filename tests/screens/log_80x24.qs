# The log says what was done.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
repl
screen log --size 80x24
