# Edits of the models under pins: in the title, the history and the lines for a script.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 12
run
whatif --equalize --apply
run
whatif /block4/pw/Conv --weights s8 --per-channel --apply
pin /block3/dw/Conv
run
undo
screen pins --size 80x24
redo
screen pins --size 160x48 --ascii
