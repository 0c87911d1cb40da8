# Images beside the one under the cursor, in characters that every terminal has.
# What `picture` reads stays until another is read.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
picture star_4.png
screen images --size 160x48 --ascii
