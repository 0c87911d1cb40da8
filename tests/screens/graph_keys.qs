# A small screen folds what is far away; keys unfold it, go along it and list what one side has.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
key 4 Tab - - - - H g j
screen --size 80x16 --ascii
key Enter
screen --size 80x16 --ascii
key o c x
find block2/pw
key ]
screen --size 80x24
key x g
screen --size 80x24
key X
screen --size 80x24 --ascii
