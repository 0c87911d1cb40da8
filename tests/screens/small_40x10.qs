# Reduced, but not broken.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
screen layers --size 40x10
# The same with something in each view: figures are worth more than what the marks say as well.
sensitivity --exact --ways loo
pin @1
screen pins --size 40x10 --ascii
screen pins --size 60x12 --ascii
screen images --size 40x10 --ascii
screen images --size 60x12 --ascii
screen graph --size 40x10 --ascii
