"""The vendors' protocols, by vendor name. Pure: nothing in this package does I/O or reads a clock."""

from collections.abc import Mapping

from streamstop_worker.vendors.aliyun import Aliyun
from streamstop_worker.vendors.protocol import VendorProtocol
from streamstop_worker.vendors.tencent import Tencent

__all__ = ["PROTOCOLS"]

#: Vendor names, as operations and accounts carry them, to their protocol.
PROTOCOLS: Mapping[str, VendorProtocol] = {"aliyun": Aliyun(), "tencent": Tencent()}
