# The language itself: settings, quotes, comments, several commands on a line.
set top 2
show top
echo one ; echo two # and no more
echo 'single $quotes' "double ${OUT}" back\ slash
echo a \
     b
-layers
echo after an ignored error
