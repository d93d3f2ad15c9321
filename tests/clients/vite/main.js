import './look.css';
import { text } from './text.js';

const show = (t) => { document.querySelector('#app').textContent = t; };
show(text);
if (import.meta.hot) import.meta.hot.accept('./text.js', (m) => show(m.text));
