"""The vendors' protocols, by vendor name. Pure: nothing in this package does I/O or reads a clock."""

from collections.abc import Mapping

from streamstop_worker.vendors.aliyun import Aliyun
from streamstop_worker.vendors.protocol import VendorProtocol
from streamstop_worker.vendors.tencent import Tencent

__all__ = ["PROTOCOLS"]

#: Protocols by vendor name; operations and accounts use the same names.
PROTOCOLS: Mapping[str, VendorProtocol] = {"aliyun": Aliyun(), "tencent": Tencent()}
