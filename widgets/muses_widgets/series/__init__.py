"""The panel of series: what is asked, computed, drawn and shown on the map at the places of a map."""
