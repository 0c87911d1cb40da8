# Images ranked, one image in detail, accuracy.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
run
worst 5
images --sort sqnr --top 3
images --flips lost
image star_0.png
evaluate
images --where 'sqnr < 10 && flip == lost && label == star' --top 2
-images --where 'nonsense < 3'
