"""One company's month on Amazon Bedrock, with known truth.

From a month, a seed and a number of requests this package draws a ground truth (requests and charges that are not
requests) and writes what AWS would write about it: cost reports, invocation logs, CloudTrail records and price lists.
Every output derives from the same truth, equal arguments give equal bytes, and nothing of the product is imported, so
the product's parsers cannot agree with these writers by construction.

    month = truth.company.build("2026-10", seed=7, requests=2000)
    truth.cost_report.deliveries(month, bucket="b", prefix="p", export="e", mode="create_new", format="parquet")
    truth.legacy_cur.deliveries(month, bucket="b", prefix="p", report="r", versioning="keep", format="gzip")
    truth.focus.deliveries(month, bucket="b", prefix="p", export="e", version="1.2", mode="create_new", format="parquet")
    truth.invocation_log.objects(month, prefix="")
    truth.cloudtrail.eventbridge_events(month), truth.cloudtrail.trail_objects(month, prefix="")
    truth.price_list.offers(month)
    month.truth()

`build(..., extras=True)` adds rows that few bills have.
"""
