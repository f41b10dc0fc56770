"""For a pool's ``preload``: importing it takes long, in each process another while."""

import random
import time

time.sleep(random.uniform(1.0, 3.0))
