# args: --json
# stderr
# Each plot as a file; what cannot be plotted.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
-plot profile ${OUT}/early.png
run
plot hist /block4/dw/Conv ${OUT}/hist.png
plot channels /block4/dw/Conv ${OUT}/channels.png
plot maps /block4/dw/Conv ${OUT}/maps.png
plot profile ${OUT}/profile.png
plot scatter ${OUT}/scatter.png
-plot pareto ${OUT}/pareto.png
sensitivity --exact --metric sqnr --images 8 --top 1
plot pareto ${OUT}/pareto.png
-plot scatter ${OUT}/scatter.png
-plot scatter /block4/dw/Conv ${OUT}/scatter.png
-plot hist ${OUT}/no/such/folder.png
plot scatter ${OUT}/scatter.png --force
