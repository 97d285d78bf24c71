"""Floor 4: the trading service: session loop, account, brokers, order journal."""
