# What a sweep and a search leave for the pins view: gains, value against cost, the front.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
sensitivity --exact --metric sqnr --top 3
screen pins --size 80x24 --ascii
key 5 g p c
screen --size 160x48 --ascii
search --max-drop 2 --metric top1
key u
screen --size 160x48 --ascii
