# stderr
# Images that cannot be read end a question about all of them with one line, and nothing else.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 1
run
dump /head/Gemm --out ${OUT}/d
dataset clear
dataset add ${OUT}/d --limit 1
-whatif --correct-bias
-calibrate
-run
