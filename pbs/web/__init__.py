"""The controller's HTTP: API, feeds and pages. The only door to aiohttp. Every view is made from the ledger."""
