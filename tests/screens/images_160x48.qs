# Images beside the one under the cursor, in characters that every terminal has.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
screen images --size 160x48 --ascii
