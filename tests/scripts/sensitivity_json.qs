# args: --json
# What scripts read; also of a job in the background.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6 --seed 5
sensitivity /block4/dw/Conv /head/Softmax &
wait
tried
search --max-pins 1 /block4/dw/Conv
pareto
prefix --until sqnr>=20
bisect --until sqnr>=15
outcomes
