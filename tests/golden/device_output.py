"""What real devices print, as people have published it; for the tests of what reads it."""

#: Raspberry Pi 5, idle: `vcgencmd pmic_read_adc`.
PI5_PMIC = """\
 3V7_WL_SW_A current(0)=0.00195186A
   3V3_SYS_A current(1)=0.12589500A
   1V8_SYS_A current(2)=0.23129540A
  DDR_VDD2_A current(3)=0.00000000A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.18835450A
    0V8_SW_A current(6)=0.30644200A
  VDD_CORE_A current(7)=0.82156000A
   3V3_DAC_A current(17)=0.00000000A
   3V3_ADC_A current(18)=0.00000000A
   0V8_AON_A current(16)=0.00311355A
      HDMI_A current(22)=0.00036630A
 3V7_WL_SW_V volt(8)=3.70720000V
   3V3_SYS_V volt(9)=3.30260900V
   1V8_SYS_V volt(10)=1.81294100V
  DDR_VDD2_V volt(11)=1.10732500V
  DDR_VDDQ_V volt(12)=0.60183090V
   1V1_SYS_V volt(13)=1.10622600V
    0V8_SW_V volt(14)=0.80146440V
  VDD_CORE_V volt(15)=0.81203820V
   3V3_DAC_V volt(20)=3.30952000V
   3V3_ADC_V volt(21)=3.31226800V
   0V8_AON_V volt(19)=0.79912020V
      HDMI_V volt(23)=5.12416000V
     EXT5V_V volt(24)=5.13756000V
      BATT_V volt(25)=0.00000000V
"""
PI5_WATTS = 1.9678  # by hand, rail by rail

#: A Samsung phone: `dumpsys thermalservice`.
SAMSUNG_THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 0
Cached temperatures:
 Temperature{mValue=-99.9, mType=6, mName=TYPE_POWER_AMPLIFIER, mStatus=0}
\tTemperature{mValue=25.3, mType=4, mName=TYPE_SKIN, mStatus=0}
\tTemperature{mValue=24.0, mType=1, mName=TYPE_CPU, mStatus=0}
\tTemperature{mValue=24.4, mType=3, mName=TYPE_BATTERY, mStatus=0}
\tTemperature{mValue=24.2, mType=5, mName=TYPE_USB_PORT, mStatus=0}
HAL Ready: true
HAL connection:
\tSdhms connected: yes
Current temperatures from HAL:
\tTemperature{mValue=24.0, mType=1, mName=TYPE_CPU, mStatus=0}
\tTemperature{mValue=24.4, mType=3, mName=TYPE_BATTERY, mStatus=0}
\tTemperature{mValue=25.3, mType=4, mName=TYPE_SKIN, mStatus=0}
\tTemperature{mValue=24.2, mType=5, mName=TYPE_USB_PORT, mStatus=0}
\tTemperature{mValue=-99.9, mType=6, mName=TYPE_POWER_AMPLIFIER, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=TYPE_CPU}
\tCoolingDevice{mValue=0, mType=3, mName=TYPE_GPU}
\tCoolingDevice{mValue=0, mType=1, mName=TYPE_BATTERY}
\tCoolingDevice{mValue=1, mType=4, mName=TYPE_MODEM}
"""

#: A phone on a USB cable, full: `dumpsys battery`.
BATTERY_FULL = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 3270000
  status: 5
  health: 2
  present: true
  level: 100
  scale: 100
  voltage: 4352
  temperature: 274
  technology: Li-ion
"""

#: A Samsung phone, charging, with the log that it adds.
BATTERY_WITH_LOG = """\
Current Battery Service state:
  status: 2
  health: 2
  level: 75
  scale: 100
  voltage: 4156
  temperature: 357
  Capacity level: -1
[EventLogBuffer]
08-11 18:34:14.721  Sending ACTION_BATTERY_CHANGED: level:72, health:2, voltage:4120
"""
