# Filters of both lists, taken away by Esc; jumps by some letters, and the way back.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
filter sqnr<15 && op == Conv
screen --size 80x16 --ascii
filter --images flip == lost && sqnr < 4
key 3
screen --size 80x16 --ascii
key Esc
jump b3dw
jump ring3
key q
jump Gemm
key Enter
screen --size 80x24 --ascii
