use burn as _;
