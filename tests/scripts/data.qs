# Images: added, listed, taken out; what preprocessing is in force.
load fp32 samples/models/fp32.onnx
preprocess show
preprocess size=32x32 color=bgr mean=0.5,0.5,0.5 std=0.25,0.25,0.25 range=0..1 resize=nearest
preprocess show
dataset add samples/images --limit 6 --seed 7
dataset list
dataset remove plus_2.png
dataset list
dataset clear
dataset list
unload
