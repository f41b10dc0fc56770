"""What AnyPod costs, measured against what it could cost: ``make bench``.

Everything is measured in one run on one machine, in alternating rounds, because two runs of one
thing on a shared machine differ more than two things do. Trust the ratios.
"""
