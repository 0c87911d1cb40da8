# Moving, finding, sorting and marking: what keys do, as commands.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24
run
cursor bottom
cursor halfup
mark /stem/Conv
find block1/dw
mark --all
unmark /block1/dw/Conv
sort cosine:desc
screen --size 80x24 --ascii
sort --next
sort --reverse
find --next
screen --size 80x24 --ascii
open
select channel 5
back
view images
sort images sqnr
sort images --reverse
cursor down
screen --size 80x24 --ascii
open
screen --size 100x30 --ascii
back
back
redraw
# Not possible without the screen, and said so.
-suspend
-key :
