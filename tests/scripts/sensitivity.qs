# stderr
# Trying every layer: in a race, exactly, by brute force; some layers only; what is not possible.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
-sensitivity
dataset add samples/images --limit 24 --seed 5
-tried
sensitivity --exact --ways loo --top 5
pin @1
sensitivity --exact --images 6 /block3/dw/Conv /head/Gemm --metric top1
-sensitivity /block4/dw/Conv
unpin @pinned
sensitivity --top 2 --jobs 2
tried --top 4
sensitivity --ways only --metric mse --top 4 --brute
pareto
outcomes
# A race that may end early; on some of the images, also alone in INT8.
dataset clear
dataset add samples/images
sensitivity --top 2 --within 0.5
sensitivity --top 2 --within 30
tried --top 3 --json
-sensitivity --within 0
-sensitivity --within 1 --exact
