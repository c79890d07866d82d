# untoil-cpu-culprit (reads only): who burns the CPU during $SSM_Seconds, by process and by systemd unit.
# shellcheck shell=sh disable=SC2154
seconds=${SSM_Seconds-}
between "$seconds" 3 60 || refuse out_of_bounds 64
more=$(sample "$seconds" all)
finish true sampled 0
