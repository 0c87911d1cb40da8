# stderr
# Trying every layer: exact, in a race, by brute force; some layers only; what is not possible.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
-sweep loo
dataset add samples/images --limit 24 --seed 5
-sweep show
sweep loo --top 5
pin @1
sweep loo --images 6 /block3/dw/Conv /head/Gemm --metric top1
-sweep loo /block4/dw/Conv
unpin @pinned
sweep loo --progressive --top 2 --jobs 2
sweep show
sweep only --metric mse --top 4 --brute
sweep prefix --metric cosine --images 4
pareto
bisect --reach 20
bisect --max-drop 0
-bisect --max-drop 1 --metric sqnr
-bisect
-sweep prefix --progressive
outcomes
