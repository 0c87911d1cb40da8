# Plots as files, read back as images: the picture pane shows what is drawn in them.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
plot profile ${OUT}/profile.png
plot channels /block4/dw/Conv ${OUT}/channels.png
plot maps /block1/dw/Conv ${OUT}/maps.png
dataset clear
dataset add ${OUT}/profile.png ${OUT}/channels.png ${OUT}/maps.png
key 3
screen --size 160x30 --ascii
key j
screen --size 160x30 --ascii
key j
screen --size 160x30 --ascii
