# stderr
# The search for pins: to a drop, to a value, to a number of pins; what it leaves in force.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 32 --seed 5
search --max-drop 2
pins
pareto
undo
-search --max-drop 0 --max-pins 1 /head/Gemm
pins
undo
search --max-pins 2 --metric sqnr
tried
history
pins clear
search --reach 12 --metric sqnr --jobs 1
evaluate --metric sqnr --limit 32
pins clear
search --max-drop 2 --cost weights --json
pins clear
-pareto --cost ms
pareto --cost boundaries
-search --max-pins 1 --cost macs
-search
-search --max-drop -1
