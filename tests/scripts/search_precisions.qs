# exit: 2
# stderr
# A search whose pins then get the fewest bits that keep the limit; sweeps in another precision.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 48 --seed 3
search --max-drop 1 --as cheapest
pins
undo
search --reach 14 --as bf16 --method greedy
undo
sensitivity --as int16 --exact --top 3
suffix --as fp16 --until 'sqnr>=25'
search --max-pins 2 --as cheapest
