# args: --json
# What scripts read; also of a sweep in the background.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6 --seed 5
sweep loo /block4/dw/Conv /head/Softmax &
wait
sweep show
search --max-pins 1 /block4/dw/Conv
pareto
bisect --reach 15
outcomes
