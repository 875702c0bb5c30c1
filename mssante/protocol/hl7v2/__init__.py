"""HL7 v2 as hospital software speaks it: framing (mllp), text form (er7), and the French volets (values, cisis, writer). Pure."""
