"""Takes the program out of the first comment of viva.h. usage: header_example.py HEADER OUTPUT"""

import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
comment = text[:text.index("*/")]
program = re.search(r"^ \*   #include.*?^ \*   }$", comment, re.M | re.S).group()
lines = [line[5:] if line.startswith(" *   ") else "" for line in program.split("\n")]
with open(sys.argv[2], "w", encoding="utf-8") as file:
    file.write("\n".join(lines) + "\n")
