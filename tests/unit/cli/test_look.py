from tests.unit.cli.support import *
from tests.unit.cli.conftest import *
from attribution.usage import *
from attribution.meters import *
from pathlib import Path
def test_look(cloud):
    put_october(cloud); put_delivery(cloud)
    for args in (["report","--period","2026-10"],["report","--period","2026-10","--by","model"],["days","--period","2026-10"],["deliveries","--period","2026-10"],["status","--period","2026-10"],["quarantine"],["report"],["config","show"],["report","--period","2026-10","--by","tema"],["report","--stack-name","nope"]):
        r=run(*args); print("$",*args, r.exit_code); print(r.out+r.err)
    for o in ("json","csv"):
        r=run("report","--period","2026-10",output=o); print(r.out, r.err)
        r=run("status","--period","2026-10",output=o); print(r.out, r.err)
